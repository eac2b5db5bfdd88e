"""What the API looks like: types, inputs, enums and scalars. What answers them is in `resolvers/`."""
