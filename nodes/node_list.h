/*
 * Every node of the program, one X(name) per line: rg_node_NAME of a file under nodes/. A name without a file fails at link
 * time. The order is that of GET /object_info: ComfyUI's, core nodes first, then its extras by module. No include guard: node.c
 * reads it several times with different meanings of X.
 */
X(primitive_string)
X(primitive_string_multiline)
X(primitive_int)
X(primitive_float)
X(primitive_boolean)
X(preview_any)
