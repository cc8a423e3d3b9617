"""A figure of matplotlib that shows itself in a notebook and is known to nobody else.

Figures of pyplot are kept until they are closed, and are drawn twice where a cell ends in one.
"""

from io import BytesIO

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that a notebook shows as the last value of a cell, whether pyplot is used or not."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()
