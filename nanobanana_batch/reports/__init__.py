"""How runs went, on one page: what was made, what it cost, what held it up, and what is still owed."""
