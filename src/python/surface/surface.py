# What users call that calls the host in its turn. Compiled by `surface/mod.rs`, which gives `perform` and natives.


def bound_call(self, /, *args, **kwargs):
    within = enter_bound(self)
    try:
        return self.__wrapped__(*args, **kwargs)
    finally:
        leave_bound(within)


async def middleware_call(self, /, scope, receive, send):
    found = serve(self, scope)
    perform()
    if found is None:
        return await self.app(scope, receive, send)
    served, arms = found
    with served:
        return await self.app(scope, receive, _arming(send) if arms else send)


def _arming(send):
    # `send` of a request on the readiness path.
    async def arming_send(message):
        arm_when_ready(message)
        perform()
        return await send(message)

    return arming_send


bound_call.__name__ = middleware_call.__name__ = "__call__"
bound_call.__qualname__ = "BoundFunction.__call__"
middleware_call.__qualname__ = "Middleware.__call__"
