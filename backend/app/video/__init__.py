"""Video analysis as a library: files in, facts out.

It knows nothing of the database, HTTP or Celery. Times are exact (`fractions.Fraction` seconds from
the start of the stream); a float frame count never stands for time.
"""
