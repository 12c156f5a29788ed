"""Writes the 1,797 handwritten digits that scikit-learn ships as Parquet, to train on real pictures without a download.

    python3 docs/digits.py digits        # pip install scikit-learn pillow pyarrow

Three files in the folder: cold.parquet (600 rows), rl.parquet (800), test.parquet (397), in one fixed shuffled order.
Columns as EasyR1 has them: `problem` (text with an `<image>` mark), `answer` (text), `images` (a list of PNG files).
"""

import io
import pathlib
import sys

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 32  # pixels; the 8 x 8 of the originals would be less than one patch of the vision tower
PARTS = {"cold": 600, "rl": 800, "test": 397}


def png(digit):
    """A digit of 0 to 16 on black, as an 8-bit grey PNG."""
    pixels = numpy.clip(digit * 16, 0, 255).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def main(folder):
    digits = load_digits()
    order = numpy.random.default_rng(7).permutation(len(digits.target))
    folder.mkdir(parents=True, exist_ok=True)
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    start = 0
    for name, count in PARTS.items():
        rows = order[start : start + count]
        start += count
        table = pyarrow.table(
            {
                "id": [f"digit-{row}" for row in rows],
                "problem": ["<image>Which digit is this?"] * count,
                "answer": [str(digits.target[row]) for row in rows],
                "images": pyarrow.array(
                    [[{"bytes": png(digits.images[row]), "path": None}] for row in rows], pyarrow.list_(image)
                ),
            }
        )
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
        print(f"{folder / name}.parquet: {count} rows")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "digits"))
