"""Chapter 10b: does it understand the question?"""
