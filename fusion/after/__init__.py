"""After fusion: rules, diversity and exploration, as steps over the fused ranking."""
