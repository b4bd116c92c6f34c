"""The command line: one verb for each thing a person does.

`app.py` finds the verbs; each lives in a module of its own, which imports what it needs only
when it runs. Answers go to stdout; progress, remarks and errors to stderr.
"""
