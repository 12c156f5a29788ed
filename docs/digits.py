"""Writes the 1,797 handwritten digits that scikit-learn ships as Parquet, to train on real pictures without a download.

    python3 docs/digits.py digits.parquet        # pip install scikit-learn pillow pyarrow

Columns as EasyR1 has them, `problem` (text with an `<image>` mark), `answer` (text) and `images` (a list of PNG files), and two
more: `response`, which a cold start imitates (the preset `tiny` opens its thinking in the prompt, so that a response closes
it), and `split`: 600 rows of `sft`, 800 of `rl` and 397 of `test`, in one fixed shuffled order.
"""

import io
import sys

import numpy
import pyarrow
import pyarrow.parquet
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 32  # pixels; the 8 x 8 of the originals would be less than one patch of the vision tower
SPLITS = ["sft"] * 600 + ["rl"] * 800 + ["test"] * 397


def png(digit):
    """A digit of 0 to 16 on black, as an 8-bit grey PNG."""
    pixels = numpy.clip(digit * 16, 0, 255).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def main(path):
    digits = load_digits()
    order = numpy.random.default_rng(7).permutation(len(digits.target))
    answers = [str(digits.target[at]) for at in order]
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = [[{"bytes": png(digits.images[at]), "path": None}] for at in order]
    table = pyarrow.table(
        {
            "problem": ["<image>Which digit is this?"] * len(order),
            "answer": answers,
            "images": pyarrow.array(images, pyarrow.list_(image)),
            "response": [f"</think>{answer}" for answer in answers],
            "split": SPLITS,
        }
    )
    pyarrow.parquet.write_table(table, path, row_group_size=100)


if __name__ == "__main__":
    main(sys.argv[1])
