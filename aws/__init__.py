"""The product on AWS: its package, its CloudFormation stack, and the commands that make and remove them."""


class Refused(Exception):
    """The error of a command that was refused or that failed; its text gives the reason and the remedy."""
