"""The backends in DynamoDB, which Lambda functions share."""
