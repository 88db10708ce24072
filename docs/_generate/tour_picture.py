"""Put figures of a tour together to the picture of the README.

Usage: ``python docs/_generate/tour_picture.py docs/images/tour.png runs/tour/<slug>/<name>.png ...``
"""

import sys
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont, ImageOps

from semigroup.catalog import method

N_COLUMNS, WIDTH, HEIGHT, TITLE, GAP = 4, 450, 272, 28, 16

if __name__ == "__main__":
    out, *paths = map(Path, sys.argv[1:])
    n_rows = -(-len(paths) // N_COLUMNS)
    sheet = Image.new("RGB", (N_COLUMNS * (WIDTH + GAP) + GAP, n_rows * (TITLE + HEIGHT + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 16)
    for i, path in enumerate(paths):
        x, y = GAP + i % N_COLUMNS * (WIDTH + GAP), GAP + i // N_COLUMNS * (TITLE + HEIGHT + GAP)
        name = method(path.parent.name).name.split(",")[0]  # without what explains it
        draw.text((x + WIDTH / 2, y), name, fill="black", font=font, anchor="ma")
        figure = ImageOps.contain(Image.open(path).convert("RGB"), (WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        sheet.paste(figure, (x + (WIDTH - figure.width) // 2, y + TITLE + (HEIGHT - figure.height) // 2))
    sheet.quantize(96, dither=Image.Dither.NONE).save(out, optimize=True)
