"""Images: check an image file, and return its type, size and thumbnail.

A file name or a declared type is never trusted. First, the structure of the file is walked from its first byte to its
end mark (file_structure.py): that finds errors that decoders ignore, such as a JPEG without its last bytes or a wrong
checksum of a PNG, and gives the size. From that, the memory of a decode is known before it starts (decode_memory.py).
Then the image is decoded once (decoding.py), a JPEG at reduced size, which still reads every byte. A new JPEG is
decoded by a decoder that reports damage (jpeg_decoding.py). Bad bytes raise BadImage.

JPEG and WebP have no checksums, so some changes stay unnoticed. docs/cameras.md has the shares.
"""

from dog.images.decoding import (
    ImageInfo,
    average_color,
    grey_histogram,
    inspect,
    inspect_kept,
    measure,
    scale_down,
    scale_to_width,
)
from dog.images.file_structure import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, find_content_type
from dog.images.jpeg_decoding import load_simplejpeg
from dog.images.jpeg_repair import repair

__all__ = [
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "ImageInfo",
    "average_color",
    "find_content_type",
    "grey_histogram",
    "inspect",
    "inspect_kept",
    "load_simplejpeg",
    "measure",
    "repair",
    "scale_down",
    "scale_to_width",
]
