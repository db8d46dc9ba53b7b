"""Who speaks when: lips where faces are in view, voices where not, or a file that says it."""
