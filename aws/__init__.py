"""The product on AWS: its package, its CloudFormation stack, and the commands that make and remove them."""


class Refused(Exception):
    """It was not done, or failed; the text says why and what to do."""
