"""Everything that can go wrong in a way the user can act on."""

from __future__ import annotations


class HeadCaptureError(Exception):
    """A failure that is told to the user in one sentence which says what to do.

    `code` is a stable, machine-readable word; the message is for people.
    """

    code = "error"


class NotAnImageError(HeadCaptureError):
    """The bytes are not a picture that can be read."""

    code = "not_an_image"


class ImageTooLargeError(HeadCaptureError):
    """The picture, or what it claims to unpack to, is over the limit."""

    code = "image_too_large"


class NoFaceError(HeadCaptureError):
    """No face was found, or the one asked for is not there."""

    code = "no_face"


class FaceTooSmallError(HeadCaptureError):
    """The picture or the face in it has too few pixels."""

    code = "face_too_small"


class FileError(HeadCaptureError):
    """A file could not be read or written."""

    code = "file"


class CaptureFileError(HeadCaptureError):
    """A .capture file is damaged or comes from an incompatible version."""

    code = "capture_file"


class ModelError(HeadCaptureError):
    """A model is unknown, missing, damaged or does not fit its preset."""

    code = "model"


class DeviceError(HeadCaptureError):
    """The device asked for is not there or ran out of memory."""

    code = "device"


class OptionError(HeadCaptureError):
    """An option has a value that can't be used."""

    code = "option"


class CancelledError(HeadCaptureError):
    """The user cancelled the work."""

    code = "cancelled"
