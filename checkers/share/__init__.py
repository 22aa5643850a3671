"""What share groups promise (KIP-932), judged from what their members were given and what they said of it."""
