"""The pages of visitors and staff, but for the Django admin itself."""
