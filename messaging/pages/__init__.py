"""The pages of visitors and staff, except the Django admin itself."""
