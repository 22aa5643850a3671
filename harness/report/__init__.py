"""What a person reads of a run: HTML, terminal, JUnit XML."""
