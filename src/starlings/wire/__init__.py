"""The WebSocket protocol of the official clients, sans-I/O, both sides.

Bytes and values in, bytes and values out: nothing here reads a socket or a clock, waits, or logs.
From the bottom up:

=====================  ===========================================================================
``messages``           a type for each message: ``Init``, ``Update``, ``Request``, ``Reply``, …
``codec``              frame <-> message: ``decode_upstream``, ``encode_downstream`` and their
                       mirror images; fast ``encode_notification`` and ``encode_http_reply``
``paths``              target of a tunnelled request: ``parse_target`` -> ``Route`` or ``NoRoute``;
                       ``parse_page_query``, ``parse_params``
``subscriptions``      bodies of subscription requests and their confirmations
``pushed_events``      payloads of the events that subscribers receive
``timestamps``         ``format_timestamp``
``close_codes``        why a session ends or is refused, and whether its client comes back
``session_events``     what a session is told and what it answers; its states; ``Timing``
``session``            ``ServerSession``, the state machine of one connection
=====================  ===========================================================================

The rules come from the wire-protocol document; numbers in brackets are its sections, a trap is a
row of its section 12.
"""
