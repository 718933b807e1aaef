/* Marks what libfsmoe lets others link to; everything else is hidden. */
#ifndef FSMOE_EXPORT_H
#define FSMOE_EXPORT_H

#ifdef __cplusplus
#define FSMOE_API extern "C" __attribute__((visibility("default")))
#else
#define FSMOE_API __attribute__((visibility("default")))
#endif

#endif
