"""The pages of a report as parts of an HTML document."""
