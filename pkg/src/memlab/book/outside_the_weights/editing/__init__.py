"""Chapter 10c: can a fact be changed?"""
