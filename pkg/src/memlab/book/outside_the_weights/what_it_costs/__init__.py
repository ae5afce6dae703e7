"""Chapter 12: what does it cost?"""
