"""Writers: whatever turns evidence into a description."""
