"""The commands of ``recfusion``, a module a group; `fusion.cli` puts them together."""
