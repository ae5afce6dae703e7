"""Chapter 8: what is the right question?"""
