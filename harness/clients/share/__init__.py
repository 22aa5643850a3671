"""Members of share groups, without input or output: what they ask which node, and what the answers mean."""
