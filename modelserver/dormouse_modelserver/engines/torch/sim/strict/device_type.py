"""The name of the device, as torch has it."""

DEVICE_TYPE = "sim"
