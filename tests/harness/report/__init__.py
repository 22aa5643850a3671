"""What a person reads, tested: the page, the terminal, JUnit XML, summaries."""
