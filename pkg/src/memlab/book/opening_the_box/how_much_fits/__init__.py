"""Chapter 6: how much fits?"""
