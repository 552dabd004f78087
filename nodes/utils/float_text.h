/* A float64 as Python writes it: what people see in ComfyUI's messages, files and previews. */
#ifndef RG_NODES_FLOAT_TEXT_H
#define RG_NODES_FLOAT_TEXT_H

enum { RG_FLOAT_TEXT_SIZE = 32 };

/*
 * The shortest decimal that reads back as x: "1.0", "0.1", "1e+20", "1e-05", "nan", "-inf". An exponent stands when the
 * decimal point would lie left of 0.0001 or right of 16 digits. Writes into text and returns it.
 */
const char *rg_float_text(double x, char text[RG_FLOAT_TEXT_SIZE]);

#endif
