"""Storages that move together, in one model or shared by several."""
