"""What runs amount to: their results in tables, statistics, comparisons, figures and one report."""
