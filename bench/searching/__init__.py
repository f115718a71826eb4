"""What `bench/search.py` compares searches by."""
