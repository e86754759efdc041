#include "codec/sqy.h"

const char *sqy_version(void)
{
    return SQY_VERSION;
}
