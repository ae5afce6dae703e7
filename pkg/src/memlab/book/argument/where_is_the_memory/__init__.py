"""Chapter 4: are the dynamic weights the memory?"""
