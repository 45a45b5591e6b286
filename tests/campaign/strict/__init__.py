"""A strict provider of the image API, written from the contract alone: nothing of ours is imported here.

    python -m tests.campaign.strict.server --port 0 --settings '{"faults": {"rate_429": 0.1}}'

A service that shares the client's parser, or its author's reading of the contract, cannot catch its
mistakes. This one writes down what it was asked, what it charged, and every request that the contract
does not allow.
"""
