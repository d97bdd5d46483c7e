"""What an exported file has to prove before it is published."""
