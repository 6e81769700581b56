"""What users hand in and get back."""
