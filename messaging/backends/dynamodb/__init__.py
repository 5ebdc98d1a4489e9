"""Everything about DynamoDB: for functions, which share what they know."""
