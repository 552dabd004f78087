/* Python's float repr. Source: docs.python.org, float.__repr__ ("shortest string that rounds back"), format type 'r'. */
#include "nodes/utils/float_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *rg_float_text(double x, char text[RG_FLOAT_TEXT_SIZE])
{
    char digits[40], *p = text;
    int n_digits = 0, exponent;

    if (isnan(x) || isinf(x))
        return strcpy(text, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
    if (fabs(x) < 1e15 && x == floor(x) && !(x == 0 && signbit(x))) {      /* most of them are whole */
        snprintf(text, RG_FLOAT_TEXT_SIZE, "%lld.0", (long long)x);
        return text;
    }
    for (int precision = 0; precision < 17; precision++) {      /* 17 significant digits always suffice */
        snprintf(digits, sizeof(digits), "%.*e", precision, fabs(x));
        if (strtod(digits, NULL) == fabs(x))
            break;
    }
    exponent = atoi(strchr(digits, 'e') + 1);
    for (const char *d = digits; *d != 'e'; d++)
        if (*d != '.')
            digits[n_digits++] = *d;

    if (signbit(x))
        *p++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *p++ = digits[0];
        if (n_digits > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)n_digits - 1);
            p += n_digits - 1;
        }
        sprintf(p, "e%+03d", exponent);
        return text;
    }
    for (int place = exponent < 0 ? 0 : exponent, i = 0; i < n_digits || place >= -1; place--) {
        if (place == -1)
            *p++ = '.';
        *p++ = place > exponent || i >= n_digits ? '0' : digits[i++];
    }
    *p = '\0';
    return text;
}
