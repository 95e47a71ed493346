"""Settings: everything that is read from the environment, once, at the composition root or in a client's constructor.

A `.env` file is loaded into the environment when `hub` is imported; nothing here reads files.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hub.errors import ConfigurationError

__all__ = (
    "CacheSettings",
    "EndpointSettings",
    "HubSettings",
    "OpenAISettings",
    "PusherSettings",
    "Settings",
    "WebhookSettings",
)

_CONFIG = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True)


class OpenAISettings(BaseSettings):
    """The variables that OpenAI's own SDK reads."""

    model_config = _CONFIG

    api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY")
    base_url: str | None = Field(None, repr=False, validation_alias="OPENAI_BASE_URL")  # may hold a password


class EndpointSettings(BaseSettings):
    """Which endpoint answers, with what defaults, and how long to wait for it (seconds)."""

    model_config = _CONFIG

    base_url: str | None = Field(None, repr=False, validation_alias="LLM_BASE_URL")  # may hold a password
    api_key: SecretStr | None = Field(None, validation_alias="LLM_API_KEY")
    model: str | None = Field(None, validation_alias="LLM_MODEL")
    max_tokens: int | None = Field(None, ge=0, validation_alias="LLM_MAX_TOKENS")
    temperature: float | None = Field(None, ge=0, le=2, validation_alias="LLM_TEMPERATURE")
    connect_timeout: float = Field(5.0, gt=0, validation_alias="LLM_CONNECT_TIMEOUT")
    first_token_timeout: float = Field(120.0, gt=0, validation_alias="LLM_FIRST_TOKEN_TIMEOUT")
    stall_timeout: float = Field(60.0, gt=0, validation_alias="LLM_STALL_TIMEOUT")
    total_timeout: float = Field(600.0, gt=0, validation_alias="LLM_TOTAL_TIMEOUT")
    attempts: int = Field(3, ge=1, le=20, validation_alias="LLM_ATTEMPTS")
    fallback_models: str | None = Field(None, validation_alias="LLM_FALLBACK_MODELS")
    restart: bool = Field(False, validation_alias="LLM_RESTART")
    hedge_delay: float | None = Field(None, ge=0, validation_alias="LLM_HEDGE_DELAY")
    cool_down_delay: float = Field(30.0, ge=0, validation_alias="LLM_COOL_DOWN_DELAY")
    api: Literal["chat", "responses"] | None = Field(None, validation_alias="LLM_API")
    limiter: Literal["memory", "redis", "none"] | None = Field(None, validation_alias="LLM_LIMITER")
    local_gguf: str | None = Field(None, validation_alias="LLM_LOCAL_GGUF")

    def fallback_list(self) -> tuple[str, ...]:
        """The models to ask, in order, where the first one fails."""
        return _comma_separated(self.fallback_models) if self.fallback_models else ()


class CacheSettings(BaseSettings):
    """Where answers are kept, for clients that keep some."""

    model_config = _CONFIG

    backend: Literal["memory", "fs", "pg_redis", "qdrant", "none"] | None = Field(
        None, validation_alias="CACHE_BACKEND"
    )
    dir: str = Field(".llm_cache", validation_alias="CACHE_DIR")
    collection: str = Field("llm_cache", validation_alias="CACHE_COLLECTION")
    namespace: str | None = Field(None, validation_alias="CACHE_NAMESPACE")
    pg_dsn: SecretStr | None = Field(None, validation_alias="PG_DSN")
    redis_url: SecretStr | None = Field(None, validation_alias="REDIS_URL")
    redis_ttl_seconds: float = Field(3_600.0, gt=0, validation_alias="CACHE_REDIS_TTL")
    flights: SecretStr | None = Field(None, validation_alias="CACHE_FLIGHTS")
    qdrant_url: SecretStr | None = Field(None, validation_alias="QDRANT_URL")
    qdrant_api_key: SecretStr | None = Field(None, validation_alias="QDRANT_API_KEY")


class HubSettings(BaseSettings):
    """The server and the streams it keeps."""

    model_config = _CONFIG

    host: str = Field("127.0.0.1", validation_alias="HUB_HOST")
    port: int = Field(8080, ge=0, le=65535, validation_alias=AliasChoices("HUB_PORT", "PORT"))
    store: str | None = Field(None, validation_alias="HUB_STORE", repr=False)  # may hold a password
    generations: Literal["here", "workers"] = Field("here", validation_alias="HUB_GENERATIONS")
    workers: int = Field(1, ge=1, le=256, validation_alias="HUB_WORKERS")
    api_keys: SecretStr | None = Field(None, validation_alias="HUB_API_KEYS")
    insecure: bool = Field(False, validation_alias="HUB_INSECURE")
    models: str | None = Field(None, validation_alias="HUB_MODELS")
    cors_origins: str | None = Field(None, validation_alias="HUB_CORS_ORIGINS")
    max_body_bytes: int = Field(10_000_000, ge=1_000, validation_alias="HUB_MAX_BODY_BYTES")
    max_streams: int = Field(1_000, ge=1, validation_alias="HUB_MAX_STREAMS")
    max_subscribers: int = Field(20_000, ge=1, validation_alias="HUB_MAX_SUBSCRIBERS")
    retention_ttl: float = Field(3_600.0, ge=0, validation_alias="HUB_RETENTION_TTL")
    retention_bytes: int = Field(256_000_000, ge=1_000_000, validation_alias="HUB_RETENTION_BYTES")
    heartbeat_interval: float = Field(15.0, gt=0, le=300, validation_alias="HUB_HEARTBEAT_INTERVAL")
    request_timeout: float = Field(20.0, gt=0, validation_alias="HUB_REQUEST_TIMEOUT")
    stuck_timeout: float = Field(30.0, gt=0, validation_alias="HUB_STUCK_TIMEOUT")
    drain_timeout: float = Field(20.0, ge=0, validation_alias="HUB_DRAIN_TIMEOUT")
    app: str | None = Field(None, validation_alias="HUB_APP")
    concurrency: int = Field(100, ge=1, validation_alias="HUB_CONCURRENCY")
    max_attempts: int = Field(3, ge=1, validation_alias="HUB_MAX_ATTEMPTS")
    coalesce_delay: float = Field(0.1, ge=0, le=5, validation_alias="HUB_COALESCE_DELAY")
    max_queued: int = Field(10_000, ge=1, validation_alias="HUB_MAX_QUEUED")
    sinks: str | None = Field(None, validation_alias="HUB_SINKS", repr=False)  # may hold a password

    def key_list(self) -> tuple[str, ...]:
        """The bearer keys that open the hub; empty where it stands open."""
        return _comma_separated(self.api_keys.get_secret_value()) if self.api_keys else ()

    def origin_list(self) -> tuple[str, ...]:
        """The origins whose pages may read the API; empty where only the hub's own page may."""
        return _comma_separated(self.cors_origins) if self.cors_origins else ()

    def model_list(self) -> tuple[str, ...]:
        """The models a request may name; empty where any may."""
        return _comma_separated(self.models) if self.models else ()


class PusherSettings(BaseSettings):
    """The application at Pusher Channels, or at a server that speaks its protocol."""

    model_config = _CONFIG

    app_id: str | None = Field(None, validation_alias="PUSHER_APP_ID")
    auth_key: str | None = Field(None, validation_alias="PUSHER_AUTH_KEY")
    auth_secret: SecretStr | None = Field(None, validation_alias="PUSHER_AUTH_SECRET")
    app_cluster: str | None = Field(None, validation_alias="PUSHER_APP_CLUSTER")
    auth_version: str = Field("1.0", validation_alias="PUSHER_AUTH_VERSION")
    host: str | None = Field(None, validation_alias="PUSHER_HOST")
    port: int | None = Field(None, ge=1, le=65535, validation_alias="PUSHER_PORT")
    scheme: Literal["https", "http"] = Field("https", validation_alias="PUSHER_SCHEME")


class WebhookSettings(BaseSettings):
    """What batches of events for webhooks are signed with."""

    model_config = _CONFIG

    secret: SecretStr | None = Field(None, validation_alias="WEBHOOK_SECRET")


class Settings(BaseSettings):
    """All settings; a nested model a subsystem."""

    model_config = _CONFIG

    openai: OpenAISettings = Field(default_factory=lambda: OpenAISettings())
    llm: EndpointSettings = Field(default_factory=lambda: EndpointSettings())
    cache: CacheSettings = Field(default_factory=lambda: CacheSettings())
    hub: HubSettings = Field(default_factory=lambda: HubSettings())
    pusher: PusherSettings = Field(default_factory=lambda: PusherSettings())
    webhook: WebhookSettings = Field(default_factory=lambda: WebhookSettings())

    @classmethod
    def load(cls) -> Self:
        """The settings as the environment has them now.

        Raises:
            ConfigurationError: A variable has a value that makes no sense; the message names it.
        """
        try:
            return cls()
        except ValidationError as exc:
            problems = "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in exc.errors(include_input=False))
            raise ConfigurationError(f"The environment has settings that can't be used: {problems}") from None


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, text.split(",")) if part)
