"""Results on paper: matplotlib figures, tables, bundles and offline reports."""
