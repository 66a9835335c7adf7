"""D.O.G., a realtime camera: one takes a photo, and every viewer sees it."""

__version__ = "0.1.0"


def setup_tools_main() -> None:
    """Run the command `dog`, if PyPI's package `dog` replaced our script."""
    from dog_camera import main

    main()
