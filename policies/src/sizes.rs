//! How many numbers a model has and where: worked out from its sizes, without making one of them.

use burn::tensor::{Device, Tensor};

use crate::build::Values;
use crate::config::Config;
use crate::error::Result;
use crate::format::TensorShape;
use crate::policy::Policy;
use crate::tensor::as_matrix;

/// Answers every parameter with one zero, seen as often as its shape says.
struct Shapes<'a> {
    all: Vec<TensorShape>,
    stored: Option<&'a dyn Values>,
    device: &'a Device,
}

impl Values for Shapes<'_> {
    fn value(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<2>> {
        self.all.push(TensorShape { name: name.to_owned(), shape: shape.to_vec() });
        Ok(Tensor::<2>::zeros([1, 1], self.device).expand(as_matrix(shape)))
    }

    fn stored_shape(&self, name: &str) -> Option<&[usize]> {
        self.stored?.stored_shape(name)
    }
}

/// The tensors of a model of these sizes, in the order of [`Policy::parameters`].
pub fn tensors(config: &Config) -> Vec<TensorShape> {
    shapes(config, None)
}

/// The tensors of a model of these sizes; how experts are laid out is told by those that are stored.
pub(crate) fn tensors_laid_out(config: &Config, stored: &dyn Values) -> Vec<TensorShape> {
    shapes(config, Some(stored))
}

fn shapes(config: &Config, stored: Option<&dyn Values>) -> Vec<TensorShape> {
    let device = Device::flex();
    let mut shapes = Shapes { all: Vec::new(), stored, device: &device };
    let policy = Policy::build(config.clone(), &mut shapes, &device).expect("every shape has a value");
    drop(policy);
    shapes.all
}

/// A policy of these sizes whose every weight is one and the same zero: for whoever needs its shape and never computes.
pub(crate) fn hollow(config: &Config, device: &Device) -> Result<Policy> {
    Policy::build(config.clone(), &mut Shapes { all: Vec::new(), stored: None, device }, device)
}

/// Numbers of all parameters; a tied head counts once.
pub fn parameter_count(config: &Config) -> u64 {
    tensors(config).iter().map(TensorShape::numbers).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::published::{PUBLISHED, published};
    use crate::part::Part;

    #[test]
    fn published_models_have_their_published_counts() {
        let counts = [
            ("2b", 2_127_532_032),
            ("4b", 4_437_815_808),
            ("8b", 8_767_123_696),
            ("32b", 33_357_390_064),
            ("30b-a3b", 31_070_754_032),
            ("235b-a22b", 235_670_022_896),
        ];
        assert_eq!(PUBLISHED, counts.map(|(name, _)| name));
        for (name, count) in counts {
            let config = published(name).expect("a published model");
            assert_eq!(parameter_count(&config), count, "{name}");
            let tensors = tensors(&config);
            let in_parts = |part: Part| tensors.iter().filter(|tensor| Part::of(&tensor.name) == part).count();
            assert_eq!(Part::ALL.into_iter().map(in_parts).sum::<usize>(), tensors.len());
            assert_eq!(in_parts(Part::Head), usize::from(!config.tied_head));
            assert_eq!(in_parts(Part::Router) > 0, config.text.moe.is_some());
            assert_eq!(in_parts(Part::Deepstack), 3 * 6);
        }
    }
}
