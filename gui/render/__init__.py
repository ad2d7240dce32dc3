"""Figures on screen, drawn with pyqtgraph from a FigureSpec."""
