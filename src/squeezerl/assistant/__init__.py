"""The research assistant: answers from the study, the documentation and the user's own results."""
