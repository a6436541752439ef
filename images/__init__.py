"""The product's container images: which there are, and how they are built with whatever builder there is.

`make images` is for people; `on_this_machine` makes the same images for the end-to-end tests, from a base image
that needs no registry.
"""

from images.builder import Builder, find_builder
from images.catalogue import IMAGES, Image, product_version
from images.errors import ImageUnavailable

__all__ = ["IMAGES", "Builder", "Image", "ImageUnavailable", "find_builder", "product_version"]
