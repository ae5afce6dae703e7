"""Chapter 10a: can one matrix hold it?"""
