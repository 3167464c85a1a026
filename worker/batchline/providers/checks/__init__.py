"""What each provider would refuse for certain, found before anything is sent. Pure.

A check raises InvalidRequest for a decoded body that the provider's own documentation or SDK types rule out. What may work is
let through: models and fields that are newer than this code, and every question that only the provider can answer.
Messages name the field and what to do; prompts and answers are never in them.
"""
